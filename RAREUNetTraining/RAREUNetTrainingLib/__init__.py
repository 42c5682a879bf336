"""The training panel's parts: what is chosen, the processes it starts, and what they leave in the output folder."""
