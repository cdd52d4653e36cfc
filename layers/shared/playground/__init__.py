"""The shared layer: rules in `domain`, interfaces in `ports`, verbs in `usecases`, vendors in `adapters`."""
