"""What finished runs tell beyond their figures: by `fedlt analyse`, and a module each from Python."""
