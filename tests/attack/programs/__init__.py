"""One module for each attack. Its docstring says how the attacker proceeds, whom it harmed, and which defence holds."""
