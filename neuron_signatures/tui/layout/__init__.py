"""Fixed-width text (columns, bars, headers, footers) and the two widgets that show lines."""
