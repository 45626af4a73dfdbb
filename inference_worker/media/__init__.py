"""What callers send, decoded: the only place where bytes from outside are parsed."""
