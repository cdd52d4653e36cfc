"""The shared layer: rules in `domain`, interfaces in `ports`, verbs in `usecases`, vendors in `adapters`."""

from playground.start import start_fast

start_fast()
