"""What a data set holds: lengths in tokens, labels, quality, repetitions, language and kind of text."""
