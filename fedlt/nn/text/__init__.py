"""Models of token ids: encoders that read a text's tokens and its mask, and give it features."""
