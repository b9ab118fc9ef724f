"""The notifiers that come with the service, registered as any other plugin's."""
