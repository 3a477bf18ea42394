"""Names of the files a bundle holds for the engine (edgevision/bundle/FORMAT.md)."""

from __future__ import annotations

#: The network, started once; the same with every layer a call of its own and every tensor kept; the integers both are
#: made of.
PROGRAM, LAYERS, NETWORK = "program.evengine", "layers.evengine", "network.evintnet"
#: For the runner on the board: where images and results of the two programs lie.
PROGRAM_TEXT, LAYERS_TEXT = "engine.txt", "layers.txt"
#: What every layer gives for the first golden image.
GOLDEN_LAYERS = "golden/layers.bin"
#: The bitstream as Vivado writes it, its description, and the words the FPGA manager of Linux takes.
BITSTREAM, DESCRIPTION, WORDS = "engine.bit", "engine.hwh", "engine.bin"
ALWAYS = (PROGRAM, LAYERS, NETWORK, PROGRAM_TEXT, LAYERS_TEXT, GOLDEN_LAYERS)
WITH_BITSTREAM = (BITSTREAM, DESCRIPTION, WORDS)
