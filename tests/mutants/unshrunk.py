"""For pytest's `-p`: hypothesis says that it has found something, and does not look for a shorter example."""

from hypothesis import Phase, settings

settings.register_profile("unshrunk", phases=(Phase.explicit, Phase.reuse, Phase.generate))
settings.load_profile("unshrunk")
