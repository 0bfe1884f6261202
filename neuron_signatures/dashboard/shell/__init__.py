"""The frame of every page: run, sidebar, selection and address."""
