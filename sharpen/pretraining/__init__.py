"""Pre-training of an encoder on a corpus: RetroMAE, or plain masked-language modelling."""
