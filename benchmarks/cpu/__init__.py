"""`make bench-cpu`: this machine's CPU, every engine, every network and layer, in turns."""
