"""Results in, matplotlib `Figure` out; nothing is computed here beyond what a picture needs."""
