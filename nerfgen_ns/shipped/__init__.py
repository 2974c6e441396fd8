"""Small trained models that come with the package, to be looked at before anything is trained."""
