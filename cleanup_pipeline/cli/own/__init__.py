"""The questions of `layouts new`, and the file that their answers make."""
