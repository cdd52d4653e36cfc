"""One vendor each. A vendor's types and errors stop here."""
