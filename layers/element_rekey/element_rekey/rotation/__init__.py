"""The three functions of one rotation: start a rekey, check its status, publish its outcome."""
