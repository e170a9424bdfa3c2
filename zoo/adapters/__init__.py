"""Tokenizers in the shapes that other projects' harnesses and libraries ask for; each file names the project and what it follows."""
