"""What is wrong with the data, of each set alone and of the mixture, before anything is trained?"""
