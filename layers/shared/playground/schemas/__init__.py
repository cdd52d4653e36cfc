"""Bodies of the contract, as they are read and written; a module for each function, and what several of them use.

The OpenAPI document is made from them. An answer is made by its `of` from what the use case gives back.
"""
