"""The app's pages, a file each: ``panel serve taxidask/app/pages/[a-z]*.py`` serves them at the files' names.

Tests: tests/app.
"""
