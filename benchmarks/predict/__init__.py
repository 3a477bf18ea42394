"""What the latency predictor is worth, on networks it was not calibrated on."""
