"""What the images and the Compose stack are made with."""
