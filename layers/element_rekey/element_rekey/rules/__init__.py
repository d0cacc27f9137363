"""Every rule of a rotation and of a fleet run. Pure: what is seen goes in, a decision comes out."""
