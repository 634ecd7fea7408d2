"""Tokenizers, one file each: what turns texts into token ids before anything is trained."""
