"""Report what a merge keeps and loses: figures, sentences, pages, pictures."""
