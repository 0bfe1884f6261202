"""One module per view, each with `render(ctx)`, imported when the view is opened."""
