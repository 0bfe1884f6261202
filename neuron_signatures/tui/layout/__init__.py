"""Text of a fixed width: columns, bars, headers, footers, and the two widgets that show lines."""
