"""Elements that every page is built from; text from data goes only where Streamlit does not read Markdown."""
