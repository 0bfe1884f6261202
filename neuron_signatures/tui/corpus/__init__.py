"""What the browser shows of the records of a corpus: windows of text, histogram, tokens, moments."""
