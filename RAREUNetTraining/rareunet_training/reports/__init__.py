"""Pages and pictures of evaluations, for people."""
