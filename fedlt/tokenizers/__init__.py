"""What makes token ids, one file each: tokenizers, of texts; generators, like those of a class that has few."""
