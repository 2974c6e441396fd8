"""Preprocessing: photographs become a prepared folder of crops, mattes, landmarks and cameras."""
