"""The keys of an identity provider, which sign the tokens of its users."""
