"""The commands of nsbrokerd, one file each, and the parser that selects one. Imports all other rooms."""
