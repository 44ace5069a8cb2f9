"""What a recipe must measure so that its duplicates can be found."""

from schemas.errors import WrongRequest
from schemas.recipe import Recipe


def check(recipe: Recipe) -> None:
    """Raises WrongRequest when dedup asks for links whose signature is not measured."""
    if recipe.dedup is None:
        return
    if recipe.dedup.near and recipe.measure.pdq is None:
        raise WrongRequest(
            "dedup.near needs PDQ hashes, which measure does not take",
            "add `measure: {pdq: {}}`, or set dedup.near to null",
        )
    if recipe.dedup.semantic and recipe.measure.clip is None:
        raise WrongRequest(
            "dedup.semantic needs CLIP embeddings, which measure does not take",
            "add measure.clip, or set dedup.semantic to null",
        )
