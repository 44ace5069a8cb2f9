"""Kind → version of its prompt, and digest of all that it may send about one sample."""

PINNED: dict[str, tuple[int, str]] = {
    "conversation": (1, "a466c35c241066de"),
    "detail": (1, "d388dfc9f2c7a749"),
    "reasoning": (1, "615e50053dce2273"),
    "vqa": (1, "654a6d07aa65a9b1"),
    "text": (1, "8f414b1d445c41f9"),
    "counting": (1, "910c6f77e6032d8d"),
    "relation": (1, "23bcacf72e28d1f0"),
    "grounded": (1, "86718e559173d30b"),
    "recaption": (1, "a3d3c8b3affa35d8"),
    "interleaved": (1, "8ae25da03a2557a4"),
    "preference": (1, "b571e9d17e257a0d"),
}
