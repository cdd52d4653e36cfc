"""The rules. Standard library only: no I/O, no clock, no logging; time, ids and randomness are arguments."""
