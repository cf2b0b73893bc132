"""What every route needs: the token, the request, the answer, the error."""
