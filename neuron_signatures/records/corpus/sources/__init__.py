"""Sources of documents: files and folders, the demo world, installed packages, and datasets of the Hugging Face Hub."""
