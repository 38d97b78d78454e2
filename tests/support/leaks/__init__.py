"""The guard against leaks: uses of libraries, the program that carries out one of them, and listeners that watch."""
