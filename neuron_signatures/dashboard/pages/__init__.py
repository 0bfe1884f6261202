"""One module per view, each with `render(ctx)`; a view is imported when it is opened."""
