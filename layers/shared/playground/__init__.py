"""The shared layer: rules in `domain`, interfaces in `ports`, verbs in `usecases`, vendors in `adapters`."""

from playground.compiled_methods import use_compiled_methods

use_compiled_methods()
