"""Elements shared by the pages."""
