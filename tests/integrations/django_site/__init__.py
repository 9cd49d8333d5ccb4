"""A Django project: settings, one page, one command, in as few files as Django lets one have."""
