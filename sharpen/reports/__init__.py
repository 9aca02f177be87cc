"""What all pages are made with: the frame of a page, its style and its safety."""
