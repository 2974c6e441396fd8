"""Landmarks: from files, and from models."""
