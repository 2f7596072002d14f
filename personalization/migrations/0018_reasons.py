"""Scores carry the reasons for each shopper's best offers."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("personalization", "0017_purchase_intent")]

    operations = [
        migrations.AddField(
            model_name="shopperscores",
            name="reasons",
            field=models.JSONField(default=dict, verbose_name="reasons"),
        ),
    ]
