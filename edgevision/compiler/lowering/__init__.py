"""From a graph to an ordered list of kernel calls: one file per kind of operator, and what they share."""
