"""The adapters over AWS, and the place where the functions find them put together (``runtime``)."""
