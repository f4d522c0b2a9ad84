"""What every config needs: mmvssm's registrations."""

custom_imports = dict(imports=['mmvssm.openmmlab'], allow_failed_imports=False)
