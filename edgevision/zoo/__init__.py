"""Networks by name, a user's own file, and the loader of weights."""

from edgevision.zoo.load import full_name, known_name, load_model, metric_of, names, pretrained, published_side

__all__ = ["full_name", "known_name", "load_model", "metric_of", "names", "pretrained", "published_side"]
